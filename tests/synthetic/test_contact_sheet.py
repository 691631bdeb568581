from PIL import Image

from agiqa_bench.synthetic.contact_sheet import contact_sheet


def test_the_sheet_has_a_row_per_prompt(tmp_path):
    sizes = []
    for number, prompts in enumerate([(4,), (4, 25)]):
        path = tmp_path / f"{number}.png"
        contact_sheet(path, prompts)
        with Image.open(path) as sheet:
            sheet.load()
            sizes.append(sheet.size)
    assert sizes[0][0] == sizes[1][0] > 6 * 128
    assert sizes[1][1] - sizes[0][1] >= 128
